"""The sentences of claim narratives; a narrative is five small integers, one for each part.

A part is picked among the sentences that fit the incident, so the text never contradicts the other
fields.

Sentences are plain ASCII without quotes or backslashes: they are put into JSON without escaping.
"""

from __future__ import annotations

from typing import Final

CRASHES: Final = (
    "I was driving home from work when another car came out of a side street without stopping.",
    "While I was waiting at a red light the car behind did not brake and pushed me forward.",
    "I lost control on the wet road in a curve and slid into the guard rail on the right side.",
    "At the roundabout the other driver changed lanes without looking and we touched at low speed.",
    "A delivery van reversed out of a driveway and hit my door while I was passing slowly.",
    "I had to brake hard for a cyclist and the vehicle behind could not stop any more.",
    "Merging onto the highway I was cut off by a truck and scraped along the concrete barrier.",
)
BREAK_INS: Final = (
    "When I came back to the parking garage the side window was smashed and the lock was forced.",
    "The car was broken into during the night in front of our house; the door had been locked.",
    "Somebody opened the car at the trailhead while we were hiking, the glass lay on the seat.",
)
THEFTS: Final = (
    "The car was gone when I left the restaurant; I had locked it and I still have both keys.",
    "In the morning the parking space was empty and the neighbours had not seen or heard anything.",
)
PLACES: Final = (
    "It happened near the shopping centre, traffic was dense and the road was dry.",
    "It happened on the interstate shortly after the exit, there was light rain at the time.",
    "The place is a residential street with a speed limit of 25, visibility was good.",
    "It was dark and the street lights at that corner do not work, which the city knows.",
    "It happened on the parking lot of the supermarket between the second and the third row.",
    "The road was covered with leaves and it was slippery, nobody was going fast.",
    "It was rush hour on the bridge and the cars were standing in both lanes.",
    "It happened at the crossing by the school, about ten minutes before classes ended.",
)
DAMAGES: Final = (
    "The front bumper, the hood and the left headlight are damaged, the airbags did not open.",
    "The rear bumper is broken, the trunk does not close and the exhaust hangs down.",
    "Both doors on the driver side are dented and the mirror is torn off.",
    "The workshop says that the frame is bent and that the repair may not be worth it.",
    "There are scratches and a dent on the fender, the car can still be driven.",
    "The window, the dashboard and the navigation system are damaged, some things were taken.",
    "The radiator leaks and the car had to be towed to the repair shop.",
    "The wheel and the suspension on the right are bent, the steering pulls to one side.",
)
UNHURT: Final = (
    "Nobody was hurt and we exchanged our details on the spot.",
    "The other driver admitted the mistake, there was a witness who left a number.",
    "The police came and took a report, I will send the number later.",
)
HURT: Final = (
    "I have had pain in my neck and back since then and I am under treatment.",
    "My passenger complained about headaches and was seen at the clinic on the same day.",
    "Everyone in the car had to see a doctor, therapy was prescribed for several weeks.",
)
CLOSINGS: Final = (
    "Photos and the estimate are attached, please let me know how to go on.",
    "I need the car every day, so I ask for a quick settlement and a rental car.",
    "Please transfer the amount to the account given above.",
    "I will send the invoice of the repair shop as soon as I have it.",
    "Please call me in the evening if there are questions.",
)
OPENINGS: Final = (CRASHES, BREAK_INS, THEFTS)
"""By type of incident, in the order of `honest_claims.INCIDENT_TYPES`."""
PARTS_COUNT: Final = 5
LARGEST: Final = 1000
"""A claim has a number below this for each part; the incident decides which sentence it picks."""
