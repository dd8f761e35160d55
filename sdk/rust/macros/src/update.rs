//! `#[update]`.

use crate::signature::{Argument, Arguments, Return, description, export, free, plugin_type};
use proc_macro2::{Ident, TokenStream};
use syn::{Error, Item, ItemFn, Path, Result, Type, parse_quote};

pub fn expand(arguments: &Arguments, item: TokenStream) -> Result<TokenStream> {
    match syn::parse2(item)? {
        Item::Fn(function) => expand_function(arguments, &function),
        Item::Impl(block) => {
            let plugin = &block.self_ty;
            if let Some(ty) = arguments.migrates_from.first() {
                return Err(Error::new_spanned(ty, "on whole batches, write `#[update] impl Migrate for …` instead"));
            }
            let is_migrate = |path: &Path| path.segments.last().is_some_and(|segment| segment.ident == "Migrate");
            let migrates = block.trait_.as_ref().is_some_and(|(path, _)| is_migrate(path));
            let export = export(if migrates { "migrate" } else { "update" }, &quote!(#plugin));
            Ok(quote!(#block #export))
        }
        other => Err(Error::new_spanned(other, "expected a function, `impl Update for …` or `impl Migrate for …`")),
    }
}

/// The types of a plugin function's arguments, and its call.
#[derive(Default)]
struct Parts {
    key: Option<Type>,
    rows: Option<Type>,
    state: Option<Type>,
    out: Option<Type>,
    config: Option<Type>,
    timers: bool,
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
                Argument::Timers if !parts.timers => {
                    parts.timers = true;
                    parts.call.push(quote!(timers));
                    continue;
                }
                Argument::Timers => return Err(Error::new_spanned(argument, "a second argument of this kind")),
                Argument::Value(ty) => (&mut parts.key, ty, quote!(key)),
                Argument::Rows(ty) => (&mut parts.rows, ty, quote!(rows)),
                Argument::Optional(ty) => (&mut parts.state, ty, quote!(state)),
                Argument::Out(ty) => (&mut parts.out, ty, quote!(out)),
                Argument::Config(ty) => (&mut parts.config, ty, quote!(&self.config)),
            };
            if place.replace(ty).is_some() {
                return Err(Error::new_spanned(argument, "a second argument of this kind"));
            }
            parts.call.push(value);
        }
        Ok(parts)
    }
}

fn expand_function(arguments: &Arguments, function: &ItemFn) -> Result<TokenStream> {
    let Parts { key, rows, state, out, config, timers, call } = Parts::of(function)?;
    let returned = Return::of(&function.sig.output);
    let name = &function.sig.ident;
    let new_state = new_state(&returned, &quote!(#name(#(#call),*)))
        .ok_or_else(|| Error::new_spanned(&function.sig.output, "expected a state, an `Option` or `Result` of one"))?;
    let nothing: Type = parse_quote!(());
    let state = state.or_else(|| returned.row().cloned()).unwrap_or_else(|| nothing.clone());
    let rows = rows.unwrap_or_else(|| nothing.clone());
    let out = out.unwrap_or_else(|| parse_quote!(::millstream_sdk::Out<()>));
    let timers: Type = if timers { parse_quote!(::millstream_sdk::Timers) } else { nothing.clone() };
    let describe_key = key
        .as_ref()
        .map(|key| quote!(description.key = ::std::option::Option::Some(::millstream_sdk::row::schema::<#key>());));
    let key = key.unwrap_or(nothing);
    let description = description(&function.attrs, arguments);
    let (plugin, new) = plugin_type(&function.vis, name, config.as_ref());
    let export = export("update", &quote!(#name));
    let migrate = migrate(&arguments.migrates_from, &state, name);
    Ok(quote! {
        #function
        #plugin
        impl ::millstream_sdk::Update for #name {
            #new
            fn describe(
                &self,
                stage: &::millstream_sdk::Stage,
            ) -> ::std::result::Result<::millstream_sdk::Description, ::millstream_sdk::Error> {
                #description
                description.input = ::millstream_sdk::row::schema::<#rows>();
                description.output = <#out as ::millstream_sdk::Append>::schema(stage);
                description.state = ::millstream_sdk::row::schema::<#state>();
                #describe_key
                ::std::result::Result::Ok(description)
            }
            fn update(
                &mut self,
                stage: &::millstream_sdk::Stage,
                context: &::millstream_sdk::Context,
                groups: ::millstream_sdk::update::Groups,
            ) -> ::std::result::Result<::millstream_sdk::update::Updated, ::millstream_sdk::Error> {
                ::millstream_sdk::update::each_timed::<#key, #rows, #state, #out, #timers>(
                    stage,
                    context,
                    groups,
                    |key, rows, state, context, out, timers| { #new_state },
                )
            }
        }
        #export
        #migrate
    })
}

/// Returns code that migrates states of these types to the plugin's current state. Empty without types.
fn migrate(from: &[Type], state: &Type, name: &Ident) -> TokenStream {
    if from.is_empty() {
        return TokenStream::new();
    }
    let from: Vec<Type> = from.iter().map(free).collect();
    let export = export("migrate", &quote!(#name));
    quote! {
        impl ::millstream_sdk::Migrate for #name {
            fn migrate(
                &mut self,
                _: &::millstream_sdk::Stage,
                old: ::millstream_sdk::OldStates,
            ) -> ::std::result::Result<::millstream_sdk::Batch, ::millstream_sdk::Error> {
                #(if old.are::<#from>() {
                    return ::millstream_sdk::migrate::each::<#from, #state>(&old.states, |_, state| {
                        ::std::convert::TryInto::try_into(state).map_err(::millstream_sdk::Error::internal)
                    });
                })*
                ::std::result::Result::Err(old.unknown(&[#(::millstream_sdk::row::schema::<#from>()),*]))
            }
        }
        #export
    }
}

/// Returns an expression of type `Result<Option<State>, Rejection>`, or `None` if the function returns something else.
fn new_state(returned: &Return, value: &TokenStream) -> Option<TokenStream> {
    Some(match returned {
        Return::Unit => quote!({ #value; ::std::result::Result::Ok(::std::option::Option::None) }),
        Return::Row(_) => quote!(::std::result::Result::Ok(::std::option::Option::Some(#value))),
        Return::Optional(inner) if matches!(**inner, Return::Row(_)) => quote!(::std::result::Result::Ok(#value)),
        Return::Fallible(inner) => {
            let rest = new_state(inner, &quote!(value))?;
            quote!({ let value = (#value).map_err(::millstream_sdk::Rejection::from)?; #rest })
        }
        _ => return None,
    })
}
