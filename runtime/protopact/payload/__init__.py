"""Payloads: messages to bytes and back, and the codecs between them and the disk."""

from protopact.payload.codec import CodecChain, PayloadCodec
from protopact.payload.converter import Encoding, PayloadConverter
from protopact.payload.details import EncodedDetails
from protopact.payload.payload import Headers, Payload, Payloads

__all__ = [
    "CodecChain",
    "EncodedDetails",
    "Encoding",
    "Headers",
    "Payload",
    "PayloadCodec",
    "PayloadConverter",
    "Payloads",
]
