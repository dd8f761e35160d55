//! `millstream key`: the keys that sign packages, and the trusted keys.

use clap::{Args, Subcommand};
use millstream_base::digest::Digest;
use millstream_base::error::{Error, Result};
use millstream_packages::trust::config::config_dir;
use millstream_packages::trust::key::{self, PublicKey, SecretKey, Signer};
use millstream_packages::trust::policy::{self, Policy, Trusted};
use std::fmt::Write as _;

/// The arguments of `millstream key`.
#[derive(Args)]
pub struct KeyArguments {
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Subcommand)]
enum KeyCommand {
    /// Create a key that signs packages
    ///
    /// `millstream push --sign NAME` signs with it.
    New {
        /// Name of the signer: lowercase letters, digits and hyphens
        name: Signer,
        /// Replace the existing key of the signer
        #[arg(long)]
        rotate: bool,
    },
    /// Show your keys, the keys you trust, and what is revoked
    List,
    /// Show the public keys of a signer, and how others can trust them
    Show {
        /// Name of the signer
        name: Signer,
    },
    /// Accept signatures of this key as those of a signer
    Trust {
        /// Name of the signer, as policies use it
        name: Signer,
        /// Public key (ed25519:…), as `millstream key show` prints it
        key: PublicKey,
    },
    /// Revoke a key, or forbid a package
    ///
    /// Signatures of a revoked key are no longer accepted.
    Revoke {
        /// Public key (ed25519:…), or digest of a package manifest (sha256:…)
        what: String,
    },
}

/// Runs the command, and returns its output.
pub fn key(arguments: &KeyArguments) -> Result<String> {
    match &arguments.command {
        KeyCommand::New { name, rotate } => new(name, *rotate),
        KeyCommand::List => list(),
        KeyCommand::Show { name } => show(name),
        KeyCommand::Trust { name, key } => trust(name, key),
        KeyCommand::Revoke { what } => revoke(what),
    }
}

fn new(name: &Signer, rotate: bool) -> Result<String> {
    let dir = key::dir()?;
    let public = SecretKey::make(&dir, name, rotate)?.public()?;
    Ok(format!(
        "created the key of {name} in {}; keep a copy of it, and keep it secret\nothers trust it with:\n  millstream key trust \
         {name} {public}\n",
        dir.display()
    ))
}

fn list() -> Result<String> {
    let policy = Policy::load()?;
    let mark = |key: &PublicKey| if policy.is_revoked(key) { "  revoked" } else { "" };
    let mut text = String::new();
    let mut part = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            let _ = writeln!(text, "{title}\n  {}", lines.join("\n  "));
        }
    };
    let own = key::own()?;
    let line = |own: &key::OwnKey| {
        let retired = if own.is_retired { "  retired" } else { "" };
        format!("{}  {}{retired}{}", own.signer, own.public, mark(&own.public))
    };
    part("your keys:", own.iter().map(line).collect());
    let line = |(signer, key, file): &(&Signer, &PublicKey, String)| format!("{signer}  {key}  {file}{}", mark(key));
    part("trusted:", policy.signers().iter().map(line).collect());
    part("revoked:", policy.revoked().into_iter().collect());
    if text.is_empty() {
        text.push_str(
            "no keys yet; create one with `millstream key new NAME`, or trust one with `millstream key trust NAME KEY`\n",
        );
    }
    Ok(text)
}

fn show(name: &Signer) -> Result<String> {
    let policy = Policy::load()?;
    let mut keys: Vec<PublicKey> =
        key::own()?.into_iter().filter(|own| own.signer == *name && !own.is_retired).map(|own| own.public).collect();
    let trusted = policy.signers().into_iter().filter(|(signer, ..)| *signer == name).map(|(_, key, _)| *key);
    keys.extend(trusted);
    keys.retain(|key| !policy.is_revoked(key));
    keys.sort();
    keys.dedup();
    if keys.is_empty() {
        return Err(Error::job(format!("key {name} not found; `millstream key list` shows all keys")));
    }
    Ok(keys.iter().map(|key| format!("millstream key trust {name} {key}\n")).collect())
}

fn trust(name: &Signer, key: &PublicKey) -> Result<String> {
    let policy = Policy::load()?;
    if policy.is_revoked(key) {
        return Err(Error::job(format!("{key} is revoked and can no longer be trusted")));
    }
    if let Some((other, ..)) = policy.signers().into_iter().find(|(signer, of, _)| *of == key && *signer != name) {
        return Err(Error::job(format!("{key} is already the key of {other}; a key belongs to one signer")));
    }
    let mut text = format!("signatures of {key} are accepted as those of {name}\n");
    Trusted::change(&config_dir()?, |trusted| {
        let keys = trusted.signers.entry(name.clone()).or_default();
        if !keys.contains(key) {
            keys.push(*key);
        }
        Ok(())
    })?;
    if Policy::load()?.keys_of_operator(name).is_some_and(|keys| !keys.contains(key)) {
        text = format!(
            "the operator lists the keys of {name} in {}, and this key is not one of them: it is not accepted\n",
            policy::OPERATORS_FILE
        );
    }
    Ok(text)
}

fn revoke(what: &str) -> Result<String> {
    let wrong = |_| {
        Error::job(format!("`{}` is neither a key (ed25519:…) nor a manifest digest (sha256:…)", what.escape_debug()))
    };
    let key = what.parse::<PublicKey>().ok();
    let manifest = if key.is_none() { Some(what.parse::<Digest>().map_err(wrong)?) } else { None };
    Trusted::change(&config_dir()?, |trusted| {
        trusted.revoked.keys.extend(key);
        trusted.revoked.manifests.extend(manifest);
        Ok(())
    })?;
    Ok(match key {
        Some(key) => format!("{key} is revoked: its signatures are no longer accepted\n"),
        None => format!("{what} is revoked: jobs no longer use it\n"),
    })
}
