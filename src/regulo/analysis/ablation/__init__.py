"""Studies: which technique, how strong, and did it help?"""
