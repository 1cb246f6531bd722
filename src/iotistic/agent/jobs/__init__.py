"""Jobs: processes that the cloud asks for, at most once, bounded in time and in what they say."""
