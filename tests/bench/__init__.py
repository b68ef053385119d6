"""The figures of the loop, and a test of it under load: `make bench`.

turn     how long from an edit of the handler to the first answer: the article's script, done
         faithfully, against `make redeploy`, `make reload` and a save under `bin/watch.sh`, and all
         against the floor, which is no server at all. In one run and in turn, so that the ratios
         hold on any machine. Peak memory is the highest sum of the resident memory of the server
         and all its processes, sampled ten times a second.
smoke    a thousand samples, against the same texts in one process
load     a hundred reloads under load: no request may be lost
"""
