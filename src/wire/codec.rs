//! How messages become bytes: as the library's own codec does, with buffers of the size of the message.
//!
//! The library begins each call with eight kibibytes to read into and eight to write into, of which a usual message fills a
//! part; what is read stays as long as anything of the message is kept, and a large answer is copied as its buffer grows.

use prost::Message;
use std::marker::PhantomData;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder, HEADER_SIZE};
use tonic_prost::{ProstCodec, ProstDecoder};

/// So much is gathered of a stream's messages before it is handed on: what one record of TLS carries.
const HANDED_ON_AT: usize = 16 * 1024;

/// A token and a CSR have about two kilobytes, and the library makes room for a message behind what is there of it already.
const READ_BYTES: usize = 4 * 1024;

/// Protobuf messages, in buffers that fit.
#[derive(Clone, Debug)]
pub struct Fitting<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Fitting<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + 'static, U: Message + Default + 'static> Codec for Fitting<T, U> {
    type Encode = T;
    type Decode = U;
    type Encoder = FittingEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> FittingEncoder<T> {
        FittingEncoder(PhantomData)
    }

    fn decoder(&mut self) -> ProstDecoder<U> {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(READ_BYTES, HANDED_ON_AT))
    }
}

/// Makes room for a message before it is written.
#[derive(Clone, Debug)]
pub struct FittingEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for FittingEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        message.encode(buffer).map_err(|full| Status::internal(full.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        BufferSettings::new(HEADER_SIZE, HANDED_ON_AT)
    }
}
