"""Order rules R01-R25: where the shop, the channel and the callbacks contradict each other.

    facts        an order with what the rules ask of it
    verdict      what one rule says
    money        too much money, wrong money, or of the wrong payer: R04, R05, R06, R07, R24
    states       shop and channel stand differently: R01, R02, R03, R12, R20
    callbacks    callbacks that are missing, refused, badly answered, or another order's: R08, R09, R10, R11, R13
    attempts     attempts that hang, repeat or lapse: R17, R18, R19, R21
    refunds      R14, R15, R16
    records      who else should have the order and has not: R22, R23, R25
    table        all rules, with their names, faults and first actions
    evaluation   every rule's answer for one order

One small function a rule. A rule whose inputs are absent says so (`not_evaluated`) and never passes for healthy. R13, R22,
R24 and R25 may take from log lines what the order events lack (`LogHint`). Waiting times come from `Thresholds`; money is
compared in minor units; all states are normal states.
"""
