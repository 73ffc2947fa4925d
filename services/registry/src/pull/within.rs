//! A writer that takes no more than it was promised: a registry must not fill the disk.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::io::AsyncWrite;

/// More came than the descriptor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more bytes came than the manifest says")]
pub(super) struct TooLong;

/// Passes on at most `left` bytes.
pub(super) struct Within<W> {
    inner: W,
    left: u64,
}

impl<W> Within<W> {
    pub(super) fn new(inner: W, most: u64) -> Self {
        Self { inner, left: most }
    }

    /// How many of the promised bytes have not come.
    pub(super) fn missing(&self) -> u64 {
        self.left
    }

    pub(super) fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: AsyncWrite + Unpin> AsyncWrite for Within<W> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        if length > self.left {
            return Poll::Ready(Err(io::Error::other(TooLong)));
        }
        let written = Pin::new(&mut self.inner).poll_write(context, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.left = self.left.saturating_sub(u64::try_from(*count).unwrap_or(u64::MAX));
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn no_more_than_promised() {
        let mut within = Within::new(Vec::new(), 5);
        within.write_all(b"abc").await.unwrap();
        assert_eq!(within.missing(), 2);
        let error = within.write_all(b"def").await.unwrap_err();
        assert!(error.get_ref().unwrap().is::<TooLong>());
        within.write_all(b"de").await.unwrap();
        assert_eq!((within.missing(), within.into_inner()), (0, b"abcde".to_vec()));
    }
}
