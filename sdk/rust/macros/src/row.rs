//! `#[derive(Row)]`.

use proc_macro2::TokenStream;
use syn::{Data, DeriveInput, Error, Field, Fields, GenericParam, LitStr, Result};

pub fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let Data::Struct(data) = &input.data else {
        return Err(Error::new_spanned(&input.ident, "a row is a struct"));
    };
    let fields: Vec<&Field> = match &data.fields {
        Fields::Named(fields) => fields.named.iter().collect(),
        Fields::Unit => Vec::new(),
        Fields::Unnamed(fields) => return Err(Error::new_spanned(fields, "the fields of a row need names")),
    };
    let name = &input.ident;
    let of = match input.generics.params.iter().collect::<Vec<_>>().as_slice() {
        [] => quote!(#name),
        [GenericParam::Lifetime(_)] => quote!(#name<'__x>),
        _ => return Err(Error::new_spanned(&input.generics, "a row may have one lifetime and no other parameters")),
    };
    let idents: Vec<_> = fields.iter().filter_map(|field| field.ident.as_ref()).collect();
    let types: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    let columns = fields.iter().map(|field| column(field)).collect::<Result<Vec<_>>>()?;
    let names: Vec<_> = columns.iter().map(|column| &column.name).collect();
    let described = columns.iter().zip(&types).map(|(Column { name, kind }, ty)| match kind {
        Some(kind) => quote!(::millstream_sdk::written::field::<#ty>(#name, #kind)),
        None => quote!(::millstream_sdk::row::field::<#ty>(#name)),
    });
    let indexes = 0..fields.len();
    let cells: Vec<_> = types.iter().map(|ty| quote!(<#ty as ::millstream_sdk::Cell>)).collect();

    let readers = pairs(cells.iter().map(|cell| quote!(#cell::Reader<'__x>)));
    let writers = pairs(cells.iter().map(|cell| quote!(#cell::Writer<'__a>)));
    let new_readers =
        pairs(types.iter().zip(indexes).zip(&names).map(
            |((ty, index), name)| quote!(::millstream_sdk::row::cell_reader::<#ty>(columns, #index, rows, #name)?),
        ));
    // The n-th of nested pairs is `.1` n times, followed by `.0`.
    let part = |index: usize| {
        let seconds = std::iter::repeat_n(quote!(.1), index);
        quote!(#(#seconds)* .0)
    };
    let parts: Vec<_> = (0..fields.len()).map(part).collect();
    let (impl_generics, ty_generics, _) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        #[allow(unused_variables)]
        impl #impl_generics ::millstream_sdk::Row for #name #ty_generics {
            type Of<'__x> = #of;
            type Reader<'__x> = #readers;
            type Writer<'__a> = #writers;

            fn fields() -> ::std::vec::Vec<::millstream_sdk::Field> {
                ::std::vec![#(#described),*]
            }

            fn reader(
                columns: &[::millstream_sdk::row::Column],
                rows: usize,
            ) -> ::std::result::Result<Self::Reader<'_>, ::millstream_sdk::Error> {
                Ok(#new_readers)
            }

            #[inline]
            fn read<'__x>(reader: &Self::Reader<'__x>, row: usize) -> Self::Of<'__x> {
                #name { #(#idents: #cells::read(&reader #parts, row)),* }
            }

            #[inline]
            fn write(writer: &mut Self::Writer<'_>, row: Self::Of<'_>) {
                #(#cells::write(&mut writer #parts, row.#idents);)*
            }

            fn write_empty(writer: &mut Self::Writer<'_>) {
                #(#cells::write_empty(&mut writer #parts);)*
            }
        }
    })
}

/// Nests pairs, `(a, (b, (c, ())))`: any number of items, with one implementation for `()` and one for a pair.
fn pairs(items: impl DoubleEndedIterator<Item = TokenStream>) -> TokenStream {
    items.rev().fold(quote!(()), |rest, item| quote!((#item, #rest)))
}

/// The attribute of a field.
struct Column {
    name: String,
    /// The type that its text represents.
    kind: Option<String>,
}

fn column(field: &Field) -> Result<Column> {
    let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut column = Column { name: ident.strip_prefix("r#").unwrap_or(&ident).to_owned(), kind: None };
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("row")) {
        attribute.parse_nested_meta(|meta| {
            let is_name = meta.path.is_ident("name");
            if !is_name && !meta.path.is_ident("type") {
                return Err(meta.error("expected `name = \"…\"` or `type = \"…\"`"));
            }
            let value = meta.value()?.parse::<LitStr>()?.value();
            match is_name {
                true => column.name = value,
                false => column.kind = Some(value),
            }
            Ok(())
        })?;
    }
    Ok(column)
}
