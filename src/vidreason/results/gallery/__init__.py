"""The gallery: a folder of pages that show every question, every arm's answer to it, and the groups that GRPO learned from.

The folder opens from a disk. A page from a disk may not fetch files, so the data are scripts, each of which hands one text of
JSON to the page; the page loads them by need. Texts of models and data sets are data in them, and never markup.
"""
