"""Where claims are tried, judged and written down."""
