"""Pictures of crops that are alive: in a notebook, a terminal, a browser.

Each view draws what one `Looker` sees; none of them disturbs a worker.
"""
