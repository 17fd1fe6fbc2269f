"""Takes secrets and personal data out of text before anything is stored or shown.

    settings     what is taken out
    markers      what stands in its place
    words        secrets that a word before them gives away, and tokens known by their prefix
    numbers      cards, accounts, identity numbers, IBANs and phones: shape, checksum, and the words around them
    text         columns of text redacted
    keys         what a field's name says about its value
    json_text    what JSON hides from who only looks at its text
    redactor     text and nested values redacted with one set of settings, and counted
    strings      patterns over columns of strings

Markers are the same in every language and name the kind: `[card:…4242]` and `[phone:…4057]` keep the last four, by
which support finds an order; everything else keeps nothing. Order and trade numbers, trace ids and times stay: a
number is a card only with an issuer's prefix, a length that issuer uses, a Luhn sum that fits, and no sign around it
that it is an order; an IBAN needs its checksum, and so does an identity number that no word before it names.
What is escaped for an address (`%40`), or by its number as JSON does, is seen too; JSON in base64 goes as a whole, unread.

All patterns are RE2 and run as Arrow kernels over whole columns; only numbers with a checksum are looked at one by one.
A text that was redacted is redacted to itself.
"""
