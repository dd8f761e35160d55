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
    let names = fields.iter().map(|field| column_name(field)).collect::<Result<Vec<_>>>()?;
    let indexes = 0..fields.len();
    let cells: Vec<_> = types.iter().map(|ty| quote!(<#ty as ::millstream_sdk::Cell>)).collect();

    let readers = pairs(cells.iter().map(|cell| quote!(#cell::Reader<'__x>)));
    let writers = pairs(cells.iter().map(|cell| quote!(#cell::Writer<'__a>)));
    let new_readers =
        pairs(types.iter().zip(indexes).zip(&names).map(
            |((ty, index), name)| quote!(::millstream_sdk::row::cell_reader::<#ty>(columns, #index, rows, #name)?),
        ));
    // The n-th of nested pairs is `.1` n times and then `.0`.
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
                ::std::vec![#(::millstream_sdk::row::field::<#types>(#names)),*]
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

/// `(a, (b, (c, ())))`: any number of things, with one implementation for `()` and one for a pair.
fn pairs(items: impl DoubleEndedIterator<Item = TokenStream>) -> TokenStream {
    items.rev().fold(quote!(()), |rest, item| quote!((#item, #rest)))
}

fn column_name(field: &Field) -> Result<String> {
    let ident = field.ident.as_ref().map(ToString::to_string).unwrap_or_default();
    let mut name = ident.strip_prefix("r#").unwrap_or(&ident).to_owned();
    for attribute in field.attrs.iter().filter(|attribute| attribute.path().is_ident("row")) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("name") {
                return Err(meta.error("expected `name = \"…\"`"));
            }
            name = meta.value()?.parse::<LitStr>()?.value();
            Ok(())
        })?;
    }
    Ok(name)
}
