"""DocumentArrays that docarray 0.21 saved, and DocLists of docarray 0.41, without docarray."""
