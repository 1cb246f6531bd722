"""How a device becomes known to its cloud: what crosses the wire, and the cryptography of it, for both sides.

fields       reading JSON with every fault named      keys          key pairs, signing requests, proofs of possession
envelope     what only the cloud can open             challenges    what a device signs
requests     what a device asks                       answers       what the cloud answers
rotation     API keys and their successors            certificates  certificates and their successors
fitting      looks into certificates

Only keys, envelope and fitting load cryptography: a device that became known needs none of them for months.
"""
