"""The remote API's numbers: unit, source, and the day each was read.

Sources: *Single Profile Update API*, *Bulk Profile Update API* (AdobeDocs/target-dev.en)
and *Limits* (AdobeDocs/target.en), read 2026-07. Where a page leaves room ("8 KB",
"less than 50 MB"), the stricter reading stands here: KB = 1,000 bytes.
"""

from typing import Final

DAY_SECONDS: Final = 86_400
MINUTE_SECONDS: Final = 60

# "limited to 1 million updates in a 24-hour period", a rolling one.
SINGLE_CALLS_PER_DAY: Final = 1_000_000
# "50 calls per minute" for the Admin, Reporting and bulk profile APIs together (*Limits*).
BULK_CALLS_PER_MINUTE: Final = 50

# "The current limit is 8KB for GET and 60KB for POST": the whole URL, the whole body.
MAX_URL_BYTES: Final = 8_000
MAX_BODY_BYTES: Final = 60_000

# "The batch file must be smaller than 50 MB", "must not exceed 500,000 rows".
MAX_BATCH_BYTES: Final = 49_999_999
MAX_BATCH_ROWS: Final = 500_000

# A profile holds 64 KB of external data, all of it together. We see only our part of it,
# but what is larger than the whole can't fit.
MAX_PROFILE_BYTES: Final = 64_000

# Neither a plus sign nor a slash can be sent in mbox3rdPartyId.
FORBIDDEN_IN_THIRD_PARTY_ID: Final = "+/"

# Stated for page calls (*Limits*), so we warn and do not reject unless told to. Characters.
PAGE_THIRD_PARTY_ID_CHARACTERS: Final = 256
PAGE_ATTRIBUTE_NAME_CHARACTERS: Final = 128
PAGE_ATTRIBUTE_VALUE_CHARACTERS: Final = 256

# Names the API gives a meaning of its own: they can't be attributes.
RESERVED_NAMES: Final = frozenset({"pcId", "thirdPartyId"})
RESERVED_PREFIX: Final = "mbox"
ATTRIBUTE_PREFIX: Final = "profile."

# One domain holds every host of the edge, the status hosts included.
EDGE_DOMAIN: Final = "tt.omtrdc.net"

# An id's three bytes for each of its own have to fit into a body.
MAX_ID_BYTES: Final = MAX_BODY_BYTES // 3

# Ours: the longest record that intake holds in memory. Sixty times what a profile may hold,
# so that columns which are left out may be long; what is longer is read past, not kept.
MAX_RECORD_BYTES: Final = 4_000_000
