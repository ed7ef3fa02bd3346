"""The runtime on a GPU: a bundle's model, its front end and the bank of states, compiled by TensorRT.

A bundle is first written out as one graph from audio to scores (`graph`), then built into an engine (`build`), which is
kept on disk (`store`). The bank and its steps (`runtime`) command a `device`: a GPU (`cuda`, `execution`, `rows`), or
the tests' in host memory. `opening` puts it together. Only `flavours` is imported before somebody wants a GPU.
"""
