//! Byte streams: standard output and error, which are the log, standard input, which is empty, and HTTP bodies.

use super::Wasi;
use super::waiting::wait;
use crate::limits::{PLUGIN_LOG_LINE_BYTES_MAX, PLUGIN_READ_BYTES_MAX};
use crate::plugin::bindings::WitLevel;
use crate::plugin::guest::Guest;
use crate::plugin::trap::Stopped;
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError};
use wasmtime::component::Resource;
use wasmtime_wasi::p2::bindings::cli::{stderr, stdin, stdout};
use wasmtime_wasi::p2::bindings::io::{error, streams as plain};
use wasmtime_wasi::p2::bindings::sync::io::streams;
use wasmtime_wasi::p2::pipe::ClosedInputStream;
use wasmtime_wasi::p2::{
    DynInputStream, DynOutputStream, DynPollable, IoError, OutputStream, Pollable, StreamError, StreamResult, subscribe,
};

/// Bytes written to standard output and error since the last logged line.
#[derive(Default)]
pub struct PendingOutput {
    output: OutputBuffer,
    error: OutputBuffer,
}

/// One of the two outputs, as a stream. Clones write to the same buffer.
#[derive(Clone, Default)]
struct OutputBuffer(Arc<Mutex<Vec<u8>>>);

impl OutputBuffer {
    /// Takes the complete lines, or everything if `all` is set; the rest is kept, up to the length of a log line.
    fn take(&self, all: bool) -> Vec<u8> {
        let mut bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = if all { bytes.len() } else { memchr::memrchr(b'\n', &bytes).map_or(0, |end| end + 1) };
        let rest = bytes.split_off(end);
        let mut taken = std::mem::replace(&mut *bytes, rest);
        // One byte more, so that the line is marked as cut when it is logged.
        bytes.truncate(PLUGIN_LOG_LINE_BYTES_MAX + 1);
        bytes.shrink_to(PLUGIN_LOG_LINE_BYTES_MAX + 1);
        if taken.last() == Some(&b'\n') {
            taken.pop();
        }
        taken
    }
}

impl OutputStream for OutputBuffer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PLUGIN_READ_BYTES_MAX)
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for OutputBuffer {
    async fn ready(&mut self) {}
}

impl From<Stopped> for StreamError {
    fn from(stopped: Stopped) -> StreamError {
        StreamError::Trap(stopped.into())
    }
}

impl Guest {
    /// Writes to the log what was printed; `all`: also a line that has no end yet.
    pub fn log_printed(&mut self, all: bool) {
        let Some(wasi) = &self.wasi else { return };
        let (output, error) = (wasi.printed.output.take(all), wasi.printed.error.take(all));
        for (level, bytes) in [(WitLevel::Info, output), (WitLevel::Error, error)] {
            for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let line = line.get(..PLUGIN_LOG_LINE_BYTES_MAX + 1).unwrap_or(line);
                self.log(level, String::from_utf8_lossy(line).trim_end_matches('\r'));
            }
        }
    }
}

impl stdin::Host for Guest {
    fn get_stdin(&mut self) -> wasmtime::Result<Resource<DynInputStream>> {
        let stream: DynInputStream = Box::new(ClosedInputStream);
        Ok(self.wasi_call(0)?.table.push(stream)?)
    }
}

impl stdout::Host for Guest {
    fn get_stdout(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let wasi = self.wasi_call(0)?;
        let stream: DynOutputStream = Box::new(wasi.printed.output.clone());
        Ok(wasi.table.push(stream)?)
    }
}

impl stderr::Host for Guest {
    fn get_stderr(&mut self) -> wasmtime::Result<Resource<DynOutputStream>> {
        let wasi = self.wasi_call(0)?;
        let stream: DynOutputStream = Box::new(wasi.printed.error.clone());
        Ok(wasi.table.push(stream)?)
    }
}

/// Returns how much one read returns if a guest requests this much; it may always get less.
fn at_once(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX).min(PLUGIN_READ_BYTES_MAX)
}

impl Wasi {
    fn input(&mut self, stream: &Resource<DynInputStream>) -> StreamResult<&mut DynInputStream> {
        Ok(self.table.get_mut(stream)?)
    }

    fn output(&mut self, stream: &Resource<DynOutputStream>) -> StreamResult<&mut DynOutputStream> {
        Ok(self.table.get_mut(stream)?)
    }

    /// Waits until all is written.
    fn write_all(&mut self, stream: &Resource<DynOutputStream>, bytes: Bytes) -> StreamResult<()> {
        let left = self.deadline.remaining();
        let written = wait(left, self.output(stream)?.blocking_write_and_flush(bytes));
        written.unwrap_or_else(|| Err(self.deadline.time_exceeded().into()))
    }

    /// Waits until something can be read.
    fn read_some(&mut self, stream: &Resource<DynInputStream>, length: usize) -> StreamResult<Bytes> {
        let left = self.deadline.remaining();
        let read = wait(left, self.input(stream)?.blocking_read(length));
        let bytes = read.unwrap_or_else(|| Err(self.deadline.time_exceeded().into()))?;
        self.charge(bytes.len() as u64)?;
        Ok(bytes)
    }
}

impl error::Host for Guest {}

impl error::HostError for Guest {
    /// Its message only: with the host's own backtraces, it would show a guest addresses in memory.
    fn to_debug_string(&mut self, error: Resource<IoError>) -> wasmtime::Result<String> {
        Ok(format!("{:#}", self.wasi_call(0)?.table.get(&error)?))
    }

    fn drop(&mut self, error: Resource<IoError>) -> wasmtime::Result<()> {
        self.wasi_call(0)?.table.delete(error)?;
        Ok(())
    }
}

impl streams::Host for Guest {
    fn convert_stream_error(&mut self, error: StreamError) -> wasmtime::Result<streams::StreamError> {
        Ok(plain::Host::convert_stream_error(&mut self.wasi().table, error)?.into())
    }
}

impl streams::HostInputStream for Guest {
    fn read(&mut self, stream: Resource<DynInputStream>, length: u64) -> StreamResult<Vec<u8>> {
        let wasi = self.wasi_call(0)?;
        let bytes = wasi.input(&stream)?.read(at_once(length))?;
        wasi.charge(bytes.len() as u64)?;
        Ok(bytes.into())
    }

    fn blocking_read(&mut self, stream: Resource<DynInputStream>, length: u64) -> StreamResult<Vec<u8>> {
        Ok(self.wasi_call(0)?.read_some(&stream, at_once(length))?.into())
    }

    fn skip(&mut self, stream: Resource<DynInputStream>, length: u64) -> StreamResult<u64> {
        Ok(self.read(stream, length)?.len() as u64)
    }

    fn blocking_skip(&mut self, stream: Resource<DynInputStream>, length: u64) -> StreamResult<u64> {
        Ok(self.blocking_read(stream, length)?.len() as u64)
    }

    fn subscribe(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(&mut self.wasi_call(0)?.table, stream)
    }

    fn drop(&mut self, stream: Resource<DynInputStream>) -> wasmtime::Result<()> {
        self.wasi_call(0)?.table.delete(stream)?;
        Ok(())
    }
}

impl streams::HostOutputStream for Guest {
    fn check_write(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<u64> {
        Ok(self.wasi_call(0)?.output(&stream)?.check_write()? as u64)
    }

    fn write(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        self.wasi_call(bytes.len() as u64)?.output(&stream)?.write(bytes.into())?;
        self.log_printed(false);
        Ok(())
    }

    fn blocking_write_and_flush(&mut self, stream: Resource<DynOutputStream>, bytes: Vec<u8>) -> StreamResult<()> {
        self.wasi_call(bytes.len() as u64)?.write_all(&stream, bytes.into())?;
        self.log_printed(false);
        Ok(())
    }

    fn write_zeroes(&mut self, stream: Resource<DynOutputStream>, length: u64) -> StreamResult<()> {
        let wasi = self.wasi_call(length)?;
        // The stream itself rejects more than it has room for.
        wasi.output(&stream)?.write_zeroes(usize::try_from(length).unwrap_or(usize::MAX))?;
        self.log_printed(false);
        Ok(())
    }

    fn blocking_write_zeroes_and_flush(&mut self, stream: Resource<DynOutputStream>, length: u64) -> StreamResult<()> {
        let wasi = self.wasi_call(length)?;
        if length > PLUGIN_READ_BYTES_MAX as u64 {
            return Err(StreamError::trap("more zeroes than one write may have"));
        }
        wasi.write_all(&stream, vec![0; at_once(length)].into())?;
        self.log_printed(false);
        Ok(())
    }

    fn flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.wasi_call(0)?.output(&stream)?.flush()
    }

    fn blocking_flush(&mut self, stream: Resource<DynOutputStream>) -> StreamResult<()> {
        self.wasi_call(0)?.write_all(&stream, Bytes::new())
    }

    fn splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        length: u64,
    ) -> StreamResult<u64> {
        let wasi = self.wasi_call(0)?;
        let room = wasi.output(&to)?.check_write()?.min(at_once(length));
        if room == 0 {
            return Ok(0);
        }
        let bytes = wasi.input(&from)?.read(room)?;
        let moved = bytes.len() as u64;
        wasi.charge(moved)?;
        if moved > 0 {
            wasi.output(&to)?.write(bytes)?;
        }
        self.log_printed(false);
        Ok(moved)
    }

    fn blocking_splice(
        &mut self,
        to: Resource<DynOutputStream>,
        from: Resource<DynInputStream>,
        length: u64,
    ) -> StreamResult<u64> {
        let wasi = self.wasi_call(0)?;
        let bytes = wasi.read_some(&from, at_once(length))?;
        let moved = bytes.len() as u64;
        wasi.write_all(&to, bytes)?;
        self.log_printed(false);
        Ok(moved)
    }

    fn subscribe(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<Resource<DynPollable>> {
        subscribe(&mut self.wasi_call(0)?.table, stream)
    }

    fn drop(&mut self, stream: Resource<DynOutputStream>) -> wasmtime::Result<()> {
        self.wasi_call(0)?.table.delete(stream)?;
        Ok(())
    }
}
