"""`make chaos`: what a run lives through. Commands are killed, their files damaged, their disks filled and their
options mistyped, and each time the same is asked: the same bytes, or a clear word.
"""
