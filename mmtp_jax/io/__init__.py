"""Files in and out: configurations (``cfg``, ``formats``) and potentials (``mtp``).

``convert`` turns ASE atoms into the arrays of `mmtp_jax.structures`, ``labels`` counts what the
configurations carry, ``schema`` says under which names labels live on an ``ase.Atoms``, and
``atomic`` replaces files in one step. Only ``mtp`` needs JAX.
"""
