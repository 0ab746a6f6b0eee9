"""The commands of `rtcc`, one module each: words in, words out; the work is done by the modules beside this folder."""
