"""When a customer says something happened: time words in English and Chinese, as spans of UTC.

    mentions         the times that a text names
    grammar          the expressions by which a piece of text is a date, a day, a part of the day, a clock time
    numbers          number words
    atoms            the pieces of a text that the grammar finds, less those that are no time here
    groups           pieces that stand together and mean one time
    days, parts      which day is meant, and which hours a part of the day has
    clocks           a time on the clock, am or pm settled
    readings         what any of it means as local times
    group_readings   ... of a group, or of two that are the ends of a range
    span_readings    ... of words that count back, and of weeks and months

"Now" is the moment the ticket was created, and the offset of that moment is the clock that its words are read on: no
zone database and no daylight saving, because a ticket carries one offset and nothing else. A zone that is written out
("10:02 +08:00", "北京时间") goes before it.

The text is cut into atoms (a date, a day, a part of the day, a clock time) by RE2, so in linear time; neighbouring
atoms with nothing but small words between them ("around 22:10 on 11-03", "昨天下午三点左右") are then read as one
mention.
"""
