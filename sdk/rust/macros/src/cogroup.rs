//! `#[cogroup]`.

use crate::signature::{Argument, Arguments, Return, description_of, export, plugin_type};
use proc_macro2::TokenStream;
use quote::format_ident;
use syn::{Error, Item, ItemFn, Result, Type, parse_quote};

pub fn expand(arguments: &Arguments, item: TokenStream) -> Result<TokenStream> {
    arguments.without_states()?;
    match syn::parse2(item)? {
        Item::Fn(function) => expand_function(arguments, &function),
        Item::Impl(block) => {
            let plugin = &block.self_ty;
            let export = export("cogroup", &quote!(#plugin));
            Ok(quote!(#block #export))
        }
        other => Err(Error::new_spanned(other, "expected a function or `impl Cogroup for …`")),
    }
}

/// The types of a plugin function's arguments, and its call.
#[derive(Default)]
struct Parts {
    key: Option<Type>,
    /// The row type of each input.
    inputs: Vec<Type>,
    out: Option<Type>,
    config: Option<Type>,
    call: Vec<TokenStream>,
}

impl Parts {
    fn of(function: &ItemFn) -> Result<Parts> {
        let mut parts = Parts::default();
        for argument in &function.sig.inputs {
            let (place, ty, value) = match Argument::of(argument)? {
                Argument::Context => {
                    parts.call.push(quote!(context));
                    continue;
                }
                Argument::Rows(ty) => {
                    let input = format_ident!("input_{}", parts.inputs.len());
                    parts.call.push(quote!(#input.rows(group)));
                    parts.inputs.push(ty);
                    continue;
                }
                Argument::Value(ty) => (&mut parts.key, ty, quote!(key)),
                Argument::Out(ty) => (&mut parts.out, ty, quote!(out)),
                Argument::Config(ty) => (&mut parts.config, ty, quote!(&self.config)),
                Argument::Optional(_) | Argument::Timers => {
                    return Err(Error::new_spanned(argument, "world `cogroup` has neither states nor timers"));
                }
            };
            if place.replace(ty).is_some() {
                return Err(Error::new_spanned(argument, "a second argument of this kind"));
            }
            parts.call.push(value);
        }
        if parts.inputs.is_empty() {
            return Err(Error::new_spanned(&function.sig, "the function takes no `Rows<…>`; write one for each input"));
        }
        Ok(parts)
    }
}

fn expand_function(arguments: &Arguments, function: &ItemFn) -> Result<TokenStream> {
    let Parts { key, inputs, out, config, call } = Parts::of(function)?;
    let returned = Return::of(&function.sig.output);
    let out: Type = match (out, returned.row()) {
        (Some(out), None) => out,
        (None, Some(row)) => parse_quote!(::millstream_sdk::Out<#row>),
        _ => return Err(Error::new_spanned(&function.sig, "rows go either to `&mut Out<…>` or are returned")),
    };
    let name = &function.sig.ident;
    let push = returned.push(&quote!(#name(#(#call),*)));
    let describe_key = key
        .as_ref()
        .map(|key| quote!(description.key = ::std::option::Option::Some(::millstream_sdk::row::schema::<#key>());));
    let key = key.unwrap_or_else(|| parse_quote!(()));
    let description = description_of(&quote!(::millstream_sdk::cogroup::Description), &function.attrs, arguments);
    let (plugin, new) = plugin_type(&function.vis, name, config.as_ref());
    let export = export("cogroup", &quote!(#name));
    let places = 0..inputs.len();
    let missing = places.clone().zip(&inputs).map(|(place, ty)| quote!(missing::<#ty>(&inputs, #place)));
    let typed = places.zip(&inputs).map(|(place, ty)| {
        let input = format_ident!("input_{place}");
        quote!(let #input = ::millstream_sdk::cogroup::Input::<#ty>::new(&inputs, &missing, #place)?;)
    });
    Ok(quote! {
        #function
        #plugin
        impl ::millstream_sdk::Cogroup for #name {
            #new
            fn describe(
                &self,
                stage: &::millstream_sdk::Stage,
            ) -> ::std::result::Result<::millstream_sdk::cogroup::Description, ::millstream_sdk::Error> {
                #description
                description.inputs = ::std::vec![#(::millstream_sdk::row::schema::<#inputs>()),*];
                description.output = <#out as ::millstream_sdk::Append>::schema(stage);
                #describe_key
                ::std::result::Result::Ok(description)
            }
            fn cogroup(
                &mut self,
                stage: &::millstream_sdk::Stage,
                context: &::millstream_sdk::Context,
                groups: ::millstream_sdk::cogroup::Groups,
            ) -> ::std::result::Result<::millstream_sdk::cogroup::Cogrouped, ::millstream_sdk::Error> {
                let ::millstream_sdk::cogroup::Groups { keys, inputs } = groups;
                let missing = ::std::vec![#(::millstream_sdk::cogroup::#missing),*];
                #(#typed)*
                let (out, rejected) =
                    ::millstream_sdk::cogroup::each::<#key, #out>(&keys, &inputs, &missing, |key, group, out| {
                        #push
                        ::std::result::Result::Ok(())
                    })?;
                let rows = ::millstream_sdk::Append::finish(out, stage, keys)?;
                ::std::result::Result::Ok(::millstream_sdk::cogroup::Cogrouped { rows, rejected })
            }
        }
        #export
    })
}
