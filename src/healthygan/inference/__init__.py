"""A finished run put to use: the Predictor, scoring of piles, engines, and whether to trust a score.

``score.score`` ranks files; ``predictor.Predictor`` scores arrays and paths and writes nothing.
"""
