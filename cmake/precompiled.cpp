// Nothing: precompiled headers are made beside a source.
