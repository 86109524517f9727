"""What people say of images: which are shown to them, what they answered, and what follows.

`stratified` chooses images and `drawn` keeps what was chosen; `ratings` reads what raters answered,
`agreement`, `estimates` and `preferences` make numbers of it, and `audited` gathers these.
"""
