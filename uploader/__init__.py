"""Brings CRM and point-of-sale exports into Adobe Target's visitor profiles.

Start reading at :mod:`uploader.pipeline`.
"""

__version__ = "0.1.0"
