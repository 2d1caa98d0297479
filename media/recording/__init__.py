"""Recording: a lesson's lecture and screen from RTP into segments, without transcoding, and playlists over them."""
