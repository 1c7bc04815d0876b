"""A stack as a group of jobs: its first stage splits it into planes, its second puts their results together.

`manifest` is what the first stage leaves for the second; `splitting` makes each plane a job; `assembly` joins the
planes' labels and objects. The ledger's `stacks.lua` has the transitions.
"""
