"""How long the pieces of a recording are. Apart from the code that cuts, so that readers need no codec."""

PART_US = 1_000_000
SEGMENT_US = 3_500_000  # a segment ends at the first key frame after this long
SEGMENT_LONGEST_US = 6_000_000  # and at any frame after this long: the promise that a playlist makes
