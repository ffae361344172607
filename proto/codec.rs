//! The codec of the server's stubs: prost, into buffers as large as the message.

use std::marker::PhantomData;

use prost::Message;
use tonic::{
    Status,
    codec::{BufferSettings, EncodeBuf, Encoder},
};
use tonic_prost::ProstCodec;

/// A message is put together in this many bytes before it is sent, as with tonic.
const YIELD_BYTES: usize = 32 << 10;

/// tonic's own gives each call 8 KiB to encode into, which a stream keeps to its end: thousands of them wait most of the
/// time, with a message of some hundred bytes now and then.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(ProstCodec<T, U>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(ProstCodec::new())
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = Fitting<T>;
    type Decoder = <ProstCodec<T, U> as tonic::codec::Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        Fitting(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        self.0.decoder()
    }
}

/// Its encoder.
#[derive(Debug)]
pub struct Fitting<T>(PhantomData<T>);

impl<T: Message> Encoder for Fitting<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buf: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buf.reserve(message.encoded_len());
        message.encode(buf).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(0, YIELD_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use tonic::{
        codec::{Codec as _, EncodeBody, SingleMessageCompressionOverride},
        codegen::Body,
    };

    use super::*;

    fn sent<E: Encoder<Item = String, Error = Status>>(encoder: E, messages: &[String]) -> Vec<u8> {
        let mut body = pin!(EncodeBody::new_server(
            encoder,
            tokio_stream::iter(messages.iter().cloned().map(Ok)),
            None,
            SingleMessageCompressionOverride::default(),
            None,
        ));
        let mut sent = Vec::new();
        let mut cx = Context::from_waker(Waker::noop());
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut cx) {
            if let Ok(data) = frame.unwrap().into_data() {
                sent.extend_from_slice(&data);
            }
        }
        sent
    }

    #[test]
    fn what_is_sent_is_what_tonic_itself_would_send() {
        let messages: Vec<String> = [0, 1, 500, 501, 100, 40_000, 3, 2_000_000].map(|n| "x".repeat(n)).into();
        let own = sent(Codec::<String, ()>::default().encoder(), &messages);
        assert!(own.len() > 2_000_000);
        assert!(own == sent(ProstCodec::<String, ()>::default().encoder(), &messages));
    }
}
