//! A file that is uploaded in pieces. They are written in the order in which they were passed, even if several are in flight.

use super::draft::Draft;
use super::fault::HdfsFault;
use hdfs_native::Client;
use object_store::{MultipartUpload, PutPayload, PutResult, Result, UploadPart};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

type UploadPiece = (PutPayload, oneshot::Sender<Result<()>>);

/// A file that is being uploaded.
#[derive(Debug)]
pub struct Upload {
    path: String,
    /// `None`: all pieces were passed.
    pieces: Option<mpsc::UnboundedSender<UploadPiece>>,
    /// Returns the draft, unless writing failed.
    writer: Option<JoinHandle<Option<Draft>>>,
}

impl Upload {
    pub async fn begin(client: &Client, path: String) -> Result<Upload> {
        let draft = Draft::begin(client, &path).await?;
        let (pieces, given) = mpsc::unbounded_channel();
        Ok(Upload { path, pieces: Some(pieces), writer: Some(tokio::spawn(write(draft, given))) })
    }

    /// Waits until all pieces are written.
    async fn written(&mut self) -> Result<Draft> {
        self.pieces = None;
        let written = match self.writer.take() {
            Some(writer) => writer.await?,
            None => None,
        };
        written.ok_or_else(ended)
    }
}

fn ended() -> object_store::Error {
    HdfsFault::error("a previous piece could not be written", true)
}

async fn write(mut draft: Draft, mut given: mpsc::UnboundedReceiver<UploadPiece>) -> Option<Draft> {
    while let Some((payload, done)) = given.recv().await {
        for bytes in payload {
            if let Err(error) = draft.add(bytes).await {
                let _ = done.send(Err(error));
                return None;
            }
        }
        let _ = done.send(Ok(()));
    }
    Some(draft)
}

#[async_trait::async_trait]
impl MultipartUpload for Upload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (done, result) = oneshot::channel();
        let sent = self.pieces.as_ref().is_some_and(|pieces| pieces.send((data, done)).is_ok());
        Box::pin(async move { if sent { result.await.unwrap_or_else(|_| Err(ended())) } else { Err(ended()) } })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let draft = self.written().await?;
        draft.complete().await?.name(&self.path).await?;
        Ok(PutResult { e_tag: None, version: None })
    }

    async fn abort(&mut self) -> Result<()> {
        if let Ok(draft) = self.written().await {
            draft.remove().await;
        }
        Ok(())
    }
}
