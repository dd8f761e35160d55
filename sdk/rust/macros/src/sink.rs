//! `#[sink]`.

use crate::signature::{Arguments, description_of, export};
use proc_macro2::TokenStream;
use syn::{Error, ItemImpl, Result};

pub fn expand(arguments: &Arguments, item: TokenStream) -> Result<TokenStream> {
    arguments.without_states()?;
    let block: ItemImpl = syn::parse2(item)?;
    if block.trait_.is_none() {
        return Err(Error::new_spanned(&block.self_ty, "expected `impl Sink for …`"));
    }
    let plugin = &block.self_ty;
    let description = description_of(&quote!(::millstream_sdk::sink::Description), &block.attrs, arguments);
    let export = export("sink", &quote!(#plugin));
    Ok(quote! {
        #block
        impl ::millstream_sdk::sink::Described for #plugin {
            fn described() -> ::millstream_sdk::sink::Description {
                #[allow(unused_mut)]
                #description
                description
            }
        }
        #export
    })
}
