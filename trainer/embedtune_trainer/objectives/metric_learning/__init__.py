"""The losses and miners of pytorch-metric-learning 2.9 by their names, and what keeps them right.

What each is given is declared here, so that a spec is checked without importing the library, which
takes a second and more; a test holds the declarations to the library's signatures.
"""
