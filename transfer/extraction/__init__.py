"""Engines that stream batches of images through a frozen backbone."""
