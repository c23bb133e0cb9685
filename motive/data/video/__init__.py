"""Videos in and out: decoding, sampling to a clip spec, encoding."""
