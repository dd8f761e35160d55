//! Parameters and return value of a plugin function.

use proc_macro2::{Ident, TokenStream};
use quote::format_ident;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::visit_mut::VisitMut;
use syn::{
    Attribute, Error, Expr, ExprLit, FnArg, GenericArgument, Lifetime, Lit, Meta, PathArguments, PathSegment, Result,
    ReturnType, Token, Type, TypeParamBound, bracketed, parse_quote, token,
};

/// The arguments of the attribute.
#[derive(Default)]
pub struct Arguments {
    /// `config_schema = …`
    pub config_schema: Option<Expr>,
    /// `migrates_from = …`: the types of states that are converted.
    pub migrates_from: Vec<Type>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream) -> Result<Arguments> {
        let mut arguments = Arguments::default();
        while !input.is_empty() {
            let name: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            if name == "config_schema" {
                arguments.config_schema = Some(input.parse()?);
            } else if name == "migrates_from" {
                arguments.migrates_from = types(input)?;
            } else {
                return Err(Error::new_spanned(name, "expected `config_schema = …` or `migrates_from = …`"));
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
        }
        Ok(arguments)
    }
}

impl Arguments {
    /// Returns an error if a migration of states is requested in a world without state.
    pub fn without_states(&self) -> Result<()> {
        match self.migrates_from.first() {
            Some(ty) => Err(Error::new_spanned(ty, "`migrates_from` is for `#[update]`: only that world keeps states")),
            None => Ok(()),
        }
    }
}

/// Parses a type, or several in brackets.
fn types(input: ParseStream) -> Result<Vec<Type>> {
    if !input.peek(token::Bracket) {
        return Ok(vec![input.parse()?]);
    }
    let inside;
    bracketed!(inside in input);
    let types = Punctuated::<Type, Token![,]>::parse_terminated(&inside)?;
    Ok(types.into_iter().collect())
}

/// One argument of a plugin function.
pub enum Argument {
    /// `&mut Out<…>` or `&mut KeyedOut<…>`: the complete referenced type.
    Out(Type),
    /// `&mut Timers`
    Timers,
    /// `&Context`
    Context,
    /// Any other `&T`.
    Config(Type),
    /// `Rows` or `Rows<T>`: the row type.
    Rows(Type),
    /// `Option<T>`: the inner type.
    Optional(Type),
    /// Any other type by value.
    Value(Type),
}

/// The return value of a plugin function.
pub enum Return {
    Unit,
    Row(Type),
    Optional(Box<Return>),
    Fallible(Box<Return>),
    Many(Type),
}

impl Argument {
    pub fn of(argument: &FnArg) -> Result<Argument> {
        let FnArg::Typed(typed) = argument else {
            return Err(Error::new_spanned(argument, "a plugin function takes no `self`"));
        };
        Ok(match &*typed.ty {
            Type::Reference(reference) => {
                let inner = free(&reference.elem);
                match last_segment(&inner).map(|segment| segment.ident.to_string()).as_deref() {
                    Some("Out" | "KeyedOut") if reference.mutability.is_some() => Argument::Out(inner),
                    Some("Timers") if reference.mutability.is_some() => Argument::Timers,
                    _ if reference.mutability.is_some() => {
                        return Err(Error::new_spanned(&typed.ty, "expected `&mut Out<…>` or `&mut Timers`"));
                    }
                    Some("Context") => Argument::Context,
                    _ => Argument::Config(inner),
                }
            }
            other => {
                let ty = free(other);
                match last_segment(&ty) {
                    Some(segment) if segment.ident == "Rows" => {
                        Argument::Rows(type_argument(segment).unwrap_or_else(|| parse_quote!(())))
                    }
                    Some(segment) if segment.ident == "Option" => Argument::Optional(
                        type_argument(segment).ok_or_else(|| Error::new_spanned(other, "an option of what?"))?,
                    ),
                    _ => Argument::Value(ty),
                }
            }
        })
    }
}

impl Return {
    pub fn of(output: &ReturnType) -> Return {
        match output {
            ReturnType::Default => Return::Unit,
            ReturnType::Type(_, ty) => Return::of_type(&free(ty)),
        }
    }

    fn of_type(ty: &Type) -> Return {
        match ty {
            Type::Tuple(tuple) if tuple.elems.is_empty() => return Return::Unit,
            Type::ImplTrait(bounds) => {
                if let Some(item) = bounds.bounds.iter().find_map(iterator_item) {
                    return Return::Many(item);
                }
            }
            _ => {}
        }
        if let Some((segment, inner)) = last_segment(ty).and_then(|segment| Some((segment, type_argument(segment)?))) {
            match segment.ident.to_string().as_str() {
                "Option" => return Return::Optional(Box::new(Return::of_type(&inner))),
                "Result" => return Return::Fallible(Box::new(Return::of_type(&inner))),
                "Vec" => return Return::Many(inner),
                _ => {}
            }
        }
        Return::Row(ty.clone())
    }

    /// Returns the inner row type.
    pub fn row(&self) -> Option<&Type> {
        match self {
            Return::Unit => None,
            Return::Row(ty) | Return::Many(ty) => Some(ty),
            Return::Optional(inner) | Return::Fallible(inner) => inner.row(),
        }
    }

    /// Statements that push the rows of the value `value` to `out`, and return early with a rejection.
    pub fn push(&self, value: &TokenStream) -> TokenStream {
        match self {
            Return::Unit => quote!(#value;),
            Return::Row(_) => quote!(out.push(#value);),
            Return::Many(_) => quote!(for row in #value { out.push(row); }),
            Return::Optional(inner) => {
                let push = inner.push(&quote!(value));
                quote!(if let ::std::option::Option::Some(value) = #value { #push })
            }
            Return::Fallible(inner) => {
                let push = inner.push(&quote!(value));
                quote!(let value = (#value).map_err(::millstream_sdk::Rejection::from)?; #push)
            }
        }
    }
}

/// Returns the function's doc comment as text.
pub fn doc(attributes: &[Attribute]) -> String {
    let line = |attribute: &Attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.value().trim().to_owned()),
            _ => None,
        },
        _ => None,
    };
    attributes.iter().filter_map(line).collect::<Vec<_>>().join("\n").trim().to_owned()
}

/// Returns the start of `describe`: name and version of the user's package, the doc comment, the config's schema.
pub fn description(attributes: &[Attribute], arguments: &Arguments) -> TokenStream {
    description_of(&quote!(::millstream_sdk::Description), attributes, arguments)
}

/// Like `description`, for a world with this description type.
pub fn description_of(ty: &TokenStream, attributes: &[Attribute], arguments: &Arguments) -> TokenStream {
    let doc = doc(attributes);
    let config_schema = arguments
        .config_schema
        .as_ref()
        .map(|schema| quote!(description.config_schema = ::std::string::String::from(#schema);));
    quote! {
        let mut description =
            #ty::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), #doc);
        #config_schema
    }
}

/// Returns the type that represents a plugin function, and its `new`, which reads the config. The type has the function's name,
/// which is free among types, and contains the config.
pub fn plugin_type(visibility: &syn::Visibility, name: &Ident, config: Option<&Type>) -> (TokenStream, TokenStream) {
    let (field_type, value) = match config {
        Some(config) => (quote!(#config), quote!(stage.config()?)),
        None => (quote!(()), quote!(stage.no_config()?)),
    };
    let definition = quote! {
        #[doc(hidden)]
        #[allow(non_camel_case_types)]
        #visibility struct #name { config: #field_type }
    };
    let new = quote! {
        fn new(stage: &::millstream_sdk::Stage) -> ::std::result::Result<Self, ::millstream_sdk::Error> {
            ::std::result::Result::Ok(Self { config: #value })
        }
    };
    (definition, new)
}

/// Returns the exports of a component of this world.
pub fn export(world: &str, plugin: &TokenStream) -> TokenStream {
    let (module, export) = (format_ident!("{world}"), format_ident!("export_{world}"));
    quote! {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type MillstreamPlugin = ::millstream_sdk::export::Exported<#plugin>;
            ::millstream_sdk::bindings::#module::#export!(
                MillstreamPlugin with_types_in ::millstream_sdk::bindings::#module
            );
        };
    }
}

/// Returns the first type among the arguments of a path segment.
pub fn type_argument(segment: &PathSegment) -> Option<Type> {
    let PathArguments::AngleBracketed(arguments) = &segment.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty.clone()),
        _ => None,
    })
}

pub fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        _ => None,
    }
}

fn iterator_item(bound: &TypeParamBound) -> Option<Type> {
    let TypeParamBound::Trait(bound) = bound else { return None };
    let PathArguments::AngleBracketed(arguments) = &bound.path.segments.last()?.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::AssocType(item) if item.ident == "Item" => Some(item.ty.clone()),
        _ => None,
    })
}

/// Returns the type with all lifetimes inferred, so that it can be named in a function body.
pub fn free(ty: &Type) -> Type {
    struct Infer;
    impl VisitMut for Infer {
        fn visit_lifetime_mut(&mut self, lifetime: &mut Lifetime) {
            *lifetime = Lifetime::new("'_", lifetime.span());
        }
    }
    let mut ty = ty.clone();
    Infer.visit_type_mut(&mut ty);
    ty
}
