"""A small hospital that never was: all eight kinds of modality in the files a hospital has them in.

Every modality shows one way of being ill that no other shows (`latent`), the sicker are measured
more, and who dies depends on all of it. Nothing in it is of a real person. Stays to train on lie in
the folder itself, later ones without their outcome in ``new/``.
"""

from remind.sources.toy_hospital.folder import OPTIONS, write

__all__ = ["OPTIONS", "write"]
