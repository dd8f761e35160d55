//! `#[transform]`.

use crate::signature::{Argument, Arguments, Return, description, export, last_segment, plugin_type, type_argument};
use proc_macro2::TokenStream;
use syn::{Error, Item, ItemFn, Result};

pub fn expand(arguments: &Arguments, item: TokenStream) -> Result<TokenStream> {
    arguments.without_states()?;
    match syn::parse2(item)? {
        Item::Fn(function) => expand_function(arguments, &function),
        Item::Impl(block) => {
            let plugin = &block.self_ty;
            let export = export("transform", &quote!(#plugin));
            Ok(quote!(#block #export))
        }
        other => Err(Error::new_spanned(other, "expected a function or `impl Transform for …`")),
    }
}

fn expand_function(arguments: &Arguments, function: &ItemFn) -> Result<TokenStream> {
    let (mut row, mut out, mut config) = (None, None, None);
    let mut call = Vec::new();
    for argument in &function.sig.inputs {
        call.push(match Argument::of(argument)? {
            Argument::Value(ty) if row.is_none() => {
                row = Some(ty);
                quote!(row)
            }
            Argument::Out(ty) if out.is_none() => {
                out = last_segment(&ty).and_then(type_argument);
                quote!(out)
            }
            Argument::Config(ty) if config.is_none() => {
                config = Some(ty);
                quote!(&self.config)
            }
            Argument::Context => quote!(context),
            _ => return Err(Error::new_spanned(argument, "expected one row, `&mut Out<…>`, `&Config` or `&Context`")),
        });
    }
    let row = row.ok_or_else(|| Error::new_spanned(&function.sig, "the function takes no row"))?;
    let returned = Return::of(&function.sig.output);
    let out = match (out, returned.row()) {
        (Some(out), None) => out,
        (None, Some(row)) => row.clone(),
        _ => return Err(Error::new_spanned(&function.sig, "rows go either to `&mut Out<…>` or are returned")),
    };
    let name = &function.sig.ident;
    let push = returned.push(&quote!(#name(#(#call),*)));
    let description = description(&function.attrs, arguments);
    let (plugin, new) = plugin_type(&function.vis, name, config.as_ref());
    let export = export("transform", &quote!(#name));
    Ok(quote! {
        #function
        #plugin
        impl ::millstream_sdk::Transform for #name {
            #new
            fn describe(
                &self,
                _stage: &::millstream_sdk::Stage,
            ) -> ::std::result::Result<::millstream_sdk::Description, ::millstream_sdk::Error> {
                #description
                description.input = ::millstream_sdk::row::schema::<#row>();
                description.output = ::millstream_sdk::row::schema::<#out>();
                ::std::result::Result::Ok(description)
            }
            fn process(
                &mut self,
                context: &::millstream_sdk::Context,
                rows: ::millstream_sdk::Batch,
            ) -> ::std::result::Result<::millstream_sdk::transform::Output, ::millstream_sdk::Error> {
                ::millstream_sdk::transform::each::<#row, #out>(&rows, |row, out| {
                    #push
                    ::std::result::Result::Ok(())
                })
            }
        }
        #export
    })
}
