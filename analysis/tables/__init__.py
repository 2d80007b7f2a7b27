"""Tables made from records: what is compared (`comparison`) and how it is written (`render`)."""
