"""Order histories out of any SQL database, by the user's own query.

    options      where the orders are and how to ask for them
    databases    connections, sessions that only read and end in time
    queries      the queries that are asked where the user has written none
    statements   a query with the values of a question
    reading      what a query gives, page by page
    texts        what a database gives, as text
    history      audit rows put together with orders
    source       the class that the flow asks

The query is the user's text and nothing else: what comes from a ticket goes in as bind values only. SQLite, PostgreSQL,
MySQL and MariaDB are asked in transactions that only read; for any other database the account must be one that can only
read.
"""
