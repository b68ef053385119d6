"""What can be known of an app's tree before any server is touched.

Nothing of the app is imported or run, and no large file is read: source is parsed, headers are
read. A failure is only what is sure not to work; what may work is a warning at most. The deploy
commands refuse a tree with a failure (`deploy`), the doctor shows all that is found.
"""
