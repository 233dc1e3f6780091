"""TensorRT: engines that were built beforehand, from the store, on a GPU or a DLA."""
