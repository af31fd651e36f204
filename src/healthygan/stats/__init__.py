"""Statistics of scores and maps: metrics, intervals, conformal p-values, localisation, drift, AUCp, FID.

Arrays in, numbers out; nothing here knows images, runs or detectors.
"""
