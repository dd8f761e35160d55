//! The imports of `wasi:`, as they are offered to every plugin.

use super::Wasi;
use crate::plugin::guest::Guest;
use crate::plugin::trap::Stopped;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemCtxView};
use wasmtime_wasi::p2::bindings::{self, cli, random, sync};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

impl Guest {
    /// Counts a host call that moves this many bytes, and returns its state.
    pub(super) fn wasi_call(&mut self, bytes: u64) -> Result<&mut Wasi, Stopped> {
        let wasi = self.wasi();
        wasi.charge(bytes)?;
        Ok(wasi)
    }
}

/// Offers the harmless part of WASI 0.2, and HTTP, whose requests fail unless the job grants them.
pub fn offer(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    bindings::io::error::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    sync::io::poll::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    sync::io::streams::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    bindings::clocks::wall_clock::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    bindings::clocks::monotonic_clock::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    random::random::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    random::insecure::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    random::insecure_seed::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::environment::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::exit::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::stdin::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::stdout::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::stderr::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::terminal_input::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::terminal_output::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::terminal_stdin::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::terminal_stdout::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    cli::terminal_stderr::add_to_linker::<_, HasSelf<_>>(linker, |guest| guest)?;
    sync::filesystem::types::add_to_linker::<_, WasiFilesystem>(linker, files)?;
    bindings::filesystem::preopens::add_to_linker::<_, WasiFilesystem>(linker, files)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_sync(linker)
}

/// No directory is ever opened, so no function of these has a handle to work on.
fn files(guest: &mut Guest) -> WasiFilesystemCtxView<'_> {
    let wasi = guest.wasi();
    WasiFilesystemCtxView { ctx: &mut wasi.files, table: &mut wasi.table }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        let wasi = self.wasi();
        WasiHttpCtxView { hooks: &mut wasi.requests, table: &mut wasi.table, ctx: &mut wasi.http }
    }
}
