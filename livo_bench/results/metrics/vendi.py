"""How varied the images of a prompt are, by feature vectors.

FID and IS look at whole sets: a method that draws one nurse fifty times may read well on both. The
Vendi score counts the different images of one prompt. It depends on the feature network and on the
number of images, so it is compared between methods of one run alone.

Source: Friedman and Dieng 2023, arXiv:2210.02410, equation 1 with the cosine kernel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import entr


def vendi_score(features: NDArray[np.float32]) -> float:
    """The effective number of different images.

    The exponential of the entropy of the eigenvalues of `K / n`, where K holds the cosines between
    images.

    Args:
        features: Vectors of the images of one prompt, shape `(n, d)`, `n > 0`.

    Returns:
        In [1, n]: 1 where all images are alike, n where all are orthogonal.
    """
    vectors = features.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    directions = vectors / np.where(lengths > 0, lengths, 1)
    # The eigenvalues of K are the squared singular values of what it is the product of.
    eigenvalues = np.linalg.svd(directions, compute_uv=False) ** 2 / len(directions)
    return float(np.exp(entr(eigenvalues).sum()))
