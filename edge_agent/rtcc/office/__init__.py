"""The RTCC's offline work: roots, people, certificates, trust bundles, requests."""
