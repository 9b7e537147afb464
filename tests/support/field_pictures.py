"""H.264 in field pictures, two packets a frame, as AVCHD camcorders write it. The encoders of ffmpeg cannot.

Source: ITU-T H.264 (2021), 7.3 (syntax), 9.1 (Exp-Golomb codes). Every macroblock is I_PCM, so nothing is predicted.
"""

SIZE = 32
"""Height and width: two macroblocks side by side in each field."""
FRAME_NUM_BITS = PICTURE_ORDER_BITS = 8


def field_pictures(levels: list[int], key_every: int) -> bytes:
    """A raw H.264 stream of gray frames, each of a top and a bottom field.

    Args:
        levels: Luma of every frame, 16 to 235.
        key_every: Frames from one key frame to the next.
    """
    stream = b""
    for number, level in enumerate(levels):
        since_key = number % key_every
        if since_key == 0:
            stream += _unit(0x67, _sequence_parameters()) + _unit(0x68, _picture_parameters())
        for bottom in (0, 1):
            is_key = since_key == 0 and not bottom
            bits = _slice_header(number // key_every, since_key, bottom, is_key)
            for _ in range(2):  # macroblocks: I_PCM, then 256 samples of luma and 128 of chroma, on whole bytes
                bits += _number(25)
                bits += "0" * (-len(bits) % 8) + _fixed(level, 8) * 256 + _fixed(128, 8) * 128
            stream += _unit(0x09, "111") + _unit(0x65 if is_key else 0x61, bits)
    return stream


def _unit(header: int, bits: str) -> bytes:
    """A NAL unit: start code, header, and the bits with their end mark; no start code may arise within."""
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    escaped, zeros = bytearray(), 0
    for byte in int(bits, 2).to_bytes(len(bits) // 8, "big"):
        if zeros >= 2 and byte <= 3:
            escaped.append(3)
            zeros = 0
        escaped.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return b"\0\0\0\1" + bytes([header]) + bytes(escaped)


def _sequence_parameters() -> str:
    """Main profile, level 3, order by least significant bits, one reference, 2 x 1 macroblocks, frames of two fields."""
    numbers = [0, FRAME_NUM_BITS - 4, 0, PICTURE_ORDER_BITS - 4, 1]
    timing = "0000" + "1" + _fixed(1, 32) + _fixed(50, 32) + "1" + "0000"
    size = _number(1) + _number(0) + "0" + "0" + "1" + "0"
    return _fixed(77, 8) + _fixed(0, 8) + _fixed(30, 8) + "".join(map(_number, numbers)) + "0" + size + "1" + timing


def _picture_parameters() -> str:
    """Variable-length codes, one slice group, no weights, no deblocking control."""
    return _number(0) + _number(0) + "00" + _number(0) + _number(0) + _number(0) + "000" + _number(0) * 3 + "000"


def _slice_header(key: int, since_key: int, bottom: int, is_key: bool) -> str:
    """An I slice of one field."""
    head = _number(0) + _number(7) + _number(0) + _fixed(since_key, FRAME_NUM_BITS) + f"1{bottom}"
    head += _number(key % 2) if is_key else ""
    return head + _fixed(2 * since_key + bottom, PICTURE_ORDER_BITS) + ("00" if is_key else "0") + _number(0)


def _fixed(value: int, width: int) -> str:
    return format(value, f"0{width}b")


def _number(value: int) -> str:
    """An unsigned Exp-Golomb code."""
    code = format(value + 1, "b")
    return "0" * (len(code) - 1) + code
