"""Order events -> orders: what the shop, the channel and the callbacks said, in normal states and in order of time.

attributes   which attribute holds what
events       one row
attempts     a payment attempt, with the callbacks and queries that speak of it
refunds      a refund, with the channel's words about it
orders       an order with everything that happened to it
numbers      merchant numbers, and whether one is of our own make
reading      the table of order events -> orders
health       whether an order is well
"""
