"""A search for the settings that forecast a table best.

tune       its door: what is searched, and for how long
origins    how well settings forecast
search     trials one after the other, the hopeless stopped
study      where they are kept, in Optuna
trials     what was found
"""
