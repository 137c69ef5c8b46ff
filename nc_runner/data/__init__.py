"""The images: raw data sets, files, and tensors that are resident or streamed."""
