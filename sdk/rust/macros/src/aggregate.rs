//! `#[aggregate]`.

use crate::signature::{Argument, Arguments, Return, description, export};
use proc_macro2::{Span, TokenStream};
use quote::format_ident;
use syn::{Error, FnArg, ImplItem, ImplItemFn, ItemImpl, Result, Type};

pub fn expand(arguments: &Arguments, item: TokenStream) -> Result<TokenStream> {
    arguments.without_states()?;
    let block: ItemImpl = syn::parse2(item)?;
    let plugin = &block.self_ty;
    let export = export("aggregate", &quote!(#plugin));
    if block.trait_.is_some() {
        return Ok(quote!(#block #export));
    }
    let implementation = implement(arguments, &block)?;
    Ok(quote!(#block #implementation #export))
}

/// One of the functions `lift`, `combine`, `lower` and `inverse`.
struct Function {
    /// The types of its parameters.
    takes: Vec<Type>,
    returns: Type,
    takes_self: bool,
    /// Statements that call it with `first`, `second` … and push the result to `out`.
    push: TokenStream,
}

impl Function {
    fn find(block: &ItemImpl, name: &str) -> Result<Option<Function>> {
        let is_it = |item: &ImplItem| matches!(item, ImplItem::Fn(function) if function.sig.ident == name);
        match block.items.iter().find(|item| is_it(item)) {
            Some(ImplItem::Fn(function)) => Function::of(function).map(Some),
            _ => Ok(None),
        }
    }

    fn required(block: &ItemImpl, name: &str, takes: usize) -> Result<Function> {
        let function = Function::find(block, name)?
            .ok_or_else(|| Error::new_spanned(&block.self_ty, format!("the function `{name}` is missing")))?;
        if function.takes.len() != takes {
            let message = format!("`{name}` takes {takes} rows or accumulators by value");
            return Err(Error::new_spanned(&block.self_ty, message));
        }
        Ok(function)
    }

    fn of(function: &ImplItemFn) -> Result<Function> {
        let (mut takes, mut takes_self, mut call) = (Vec::new(), false, Vec::new());
        for argument in &function.sig.inputs {
            if let FnArg::Receiver(_) = argument {
                takes_self = true;
                call.push(quote!(self));
                continue;
            }
            call.push(match Argument::of(argument)? {
                Argument::Value(ty) => {
                    takes.push(ty);
                    let name = format_ident!("row{}", takes.len(), span = Span::mixed_site());
                    quote!(#name)
                }
                Argument::Context => quote!(context),
                _ => return Err(Error::new_spanned(argument, "expected a row, an accumulator or `&Context`")),
            });
        }
        let name = &function.sig.ident;
        let returned = Return::of(&function.sig.output);
        let returns = match &returned {
            Return::Row(ty) => ty.clone(),
            Return::Fallible(inner) if matches!(**inner, Return::Row(_)) => match inner.row() {
                Some(ty) => ty.clone(),
                None => return Err(Error::new_spanned(&function.sig, "expected a row or a `Result` of one")),
            },
            _ => return Err(Error::new_spanned(&function.sig, "expected a row or a `Result` of one")),
        };
        Ok(Function { takes, returns, takes_self, push: returned.push(&quote!(Self::#name(#(#call),*))) })
    }

    /// Returns a call for each row of `batch`.
    fn each(&self, batch: &TokenStream) -> TokenStream {
        let (takes, returns, push) = (&self.takes, &self.returns, &self.push);
        quote! {
            ::millstream_sdk::aggregate::each::<#(#takes,)* #returns>(
                &#batch, |row1, out| { #push ::std::result::Result::Ok(()) }
            )
        }
    }

    /// Returns a call for each pair of rows.
    fn pairs(&self, left: &TokenStream, right: &TokenStream) -> TokenStream {
        let (takes, returns, push) = (&self.takes, &self.returns, &self.push);
        quote! {
            ::millstream_sdk::aggregate::pairs::<#(#takes,)* #returns>(
                &#left, &#right, |row1, row2, out| { #push ::std::result::Result::Ok(()) }
            )
        }
    }
}

fn implement(arguments: &Arguments, block: &ItemImpl) -> Result<TokenStream> {
    let lift = Function::required(block, "lift", 1)?;
    let combine = Function::required(block, "combine", 2)?;
    let inverse = Function::find(block, "inverse")?;
    let lower = Function::find(block, "lower")?;
    let lower = match lower {
        Some(function) if function.takes.len() == 2 => function,
        _ => Function::required(block, "lower", 1)?,
    };
    let plugin = &block.self_ty;
    let takes_self = [Some(&lift), Some(&combine), Some(&lower), inverse.as_ref()];
    let new = if takes_self.into_iter().flatten().any(|function| function.takes_self) {
        quote!(stage.config())
    } else {
        quote!({ stage.no_config()?; ::std::result::Result::Ok(#plugin) })
    };
    let description = description(&block.attrs, arguments);
    let (row, accumulator, output) = (&lift.takes, &lift.returns, &lower.returns);
    let has_inverse = inverse.is_some();
    let (rows, left, right) = (quote!(rows), quote!(left), quote!(right));
    let (keys, accumulators) = (quote!(keys), quote!(accumulators));
    let call_lift = lift.each(&rows);
    let call_combine = combine.pairs(&left, &right);
    let (key, call_lower) = match lower.takes.as_slice() {
        [key, _] => (Some(key), lower.pairs(&keys, &accumulators)),
        _ => (None, lower.each(&accumulators)),
    };
    let describe_key =
        key.map(|key| quote!(description.key = ::std::option::Option::Some(::millstream_sdk::row::schema::<#key>());));
    let batch = quote!(::millstream_sdk::Batch);
    let context = quote!(context: &::millstream_sdk::Context);
    let result = quote!(::std::result::Result<#batch, ::millstream_sdk::Error>);
    let call_inverse = inverse.map(|inverse| {
        let call = inverse.pairs(&left, &right);
        quote!(fn inverse(&mut self, #context, left: #batch, right: #batch) -> #result { #call })
    });
    Ok(quote! {
        #[allow(unused_variables)]
        impl ::millstream_sdk::Aggregate for #plugin {
            fn new(stage: &::millstream_sdk::Stage) -> ::std::result::Result<Self, ::millstream_sdk::Error> {
                #new
            }
            fn describe(
                &self,
                stage: &::millstream_sdk::Stage,
            ) -> ::std::result::Result<::millstream_sdk::Description, ::millstream_sdk::Error> {
                #description
                description.input = ::millstream_sdk::row::schema::<#(#row)*>();
                description.state = ::millstream_sdk::row::schema::<#accumulator>();
                description.output = ::millstream_sdk::row::schema::<#output>();
                description.inverse = #has_inverse;
                #describe_key
                ::std::result::Result::Ok(description)
            }
            fn lift(&mut self, #context, rows: #batch) -> #result { #call_lift }
            fn combine(&mut self, #context, left: #batch, right: #batch) -> #result { #call_combine }
            fn lower(&mut self, #context, keys: #batch, accumulators: #batch) -> #result { #call_lower }
            #call_inverse
        }
    })
}
