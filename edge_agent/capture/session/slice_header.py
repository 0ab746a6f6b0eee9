"""Whether coded bytes begin a picture or go on with one: the first bit of a slice header tells. Pure."""

_START = b"\x00\x00\x01"


def continues_picture(codec: str, data: bytes) -> bool:
    """Tell whether the first slice of Annex B bytes is not the first of its picture.

    H.264 (7.3.3): ``first_mb_in_slice`` is ue(v), whose first bit is 1 for 0 alone. H.265 (7.3.6.1):
    ``first_slice_segment_in_pic_flag`` is one bit.
    """
    header_bytes = 2 if codec == "hevc" else 1
    place = data.find(_START)
    while place >= 0 and place + 3 + header_bytes < len(data):
        first = data[place + 3]
        # H.265: VCL units have types below 32 (table 7-1); H.264: slices and their partitions have 1 to 5.
        is_slice = first >> 1 & 0x3F < 32 if codec == "hevc" else 1 <= first & 0x1F <= 5
        if is_slice:
            return not data[place + 3 + header_bytes] & 0x80
        place = data.find(_START, place + 3)
    return False
